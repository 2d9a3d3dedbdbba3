//! `/admin/queue`: how much work waits.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;
use waypost_postgres::Store;
use waypost_postgres::queue::{Class, Queue};

use crate::auth::Viewer;
use crate::error::{ApiError, ErrorBody};
use crate::routes::routes;
use crate::time::Time;

/// One class of open deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueClass)]
pub(crate) struct ClassView {
    /// How many there are.
    depth: i64,
    /// When the oldest of them was, or is, due.
    oldest_due_at: Option<Time>,
}

/// The open deliveries of all environments, by class.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueView {
    /// Could be sent now.
    due: ClassView,
    /// Being sent.
    sending: ClassView,
    /// Wait for their endpoint to come back.
    held: ClassView,
    /// Due later.
    waiting: ClassView,
    /// False when there are more than were counted (500,000).
    complete: bool,
}

impl From<Class> for ClassView {
    fn from(class: Class) -> Self {
        Self { depth: class.depth, oldest_due_at: class.oldest_due_at.map(Time::from) }
    }
}

impl From<Queue> for QueueView {
    fn from(queue: Queue) -> Self {
        Self {
            due: queue.due.into(),
            sending: queue.sending.into(),
            held: queue.held.into(),
            waiting: queue.waiting.into(),
            complete: queue.complete,
        }
    }
}

/// How much work waits
#[utoipa::path(
    context_path = "/admin",
    tag = "Operation",
    security(("admin" = [])),
    responses(
        (status = 200, description = "Depth and oldest due time by class", body = QueueView),
        (status = 401, description = "No valid admin token", body = ErrorBody),
    )
)]
#[get("/queue")]
async fn show_queue(_viewer: Viewer, store: web::Data<Store>) -> Result<HttpResponse, ApiError> {
    let queue = store.queue_across_environments().await?;
    Ok(HttpResponse::Ok().json(QueueView::from(queue)))
}

routes![show_queue];
