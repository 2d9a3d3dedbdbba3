//! HEAD, for whatever takes GET and not HEAD itself (as the proxy does): the same answer, status and headers and all, without its body.
//!
//! The handlers never see it. The server leaves the body out by the method that it read itself, so a request only has to
//! be called GET on its way in. Ingress stays out of this: it takes POST alone, and is in no table.

use std::rc::Rc;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;

use crate::routes::{Table, routed};

/// Wraps every request of a listener, below the tracing, which should tell what was really asked.
pub(crate) async fn head<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let by_get = |table: &Rc<Table>| table.head_is_get(routed(request.match_info()));
    if request.method() == Method::HEAD && request.app_data::<Rc<Table>>().is_some_and(by_get) {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}
