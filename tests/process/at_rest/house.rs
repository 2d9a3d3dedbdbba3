//! An installation whose files are all in one folder: its database's, and its log at the finest level.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::process::Child;
use waypost_cluster::{Cluster, Options};
use waypost_harness::program::{Listen, PATIENCE, Site, within};
use waypost_harness::{Client, Receiver};
use waypost_simulator::{App, Control, DEMO_CLIENT_ID, Simulator, SimulatorConfig};

use super::CLIENT_SECRET;

/// An installation on a cluster of its own, all of whose files are in one folder.
pub(super) struct House {
    folder: TempDir,
    cluster: Cluster,
    child: Child,
    pub(super) public: Client,
    pub(super) admin: Client,
    pub(super) simulator: Simulator,
    pub(super) receiver: Receiver,
}

impl House {
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL's account, which may not be ours, has to pass through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut cluster = Cluster::open(folder.path().join("postgres"), Options { durable: true }).unwrap();
        cluster.start().unwrap();
        let listen = Listen::free();
        let public_url = format!("http://{}", listen.public);
        let simulator = simulator(&public_url).await;
        let url = cluster.url("postgres");
        let site = Site::new(&url);
        site.migrate().await;
        keep_legible(&url).await;
        let settings = [
            ("WAYPOST_LOG", "trace".to_owned()),
            ("WAYPOST__SERVER__PUBLIC_URL", public_url),
            ("WAYPOST__GRAPH__BASE_URL", simulator.graph_url().to_string()),
            ("WAYPOST__GRAPH__LOGIN_URL", simulator.login_url().to_string()),
        ];
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = site.serve(listen, &[]);
        let child = command.envs(settings).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let operator = site.run(&["admin", "token", "--role", "operator"]).await;
        let operator = String::from_utf8(operator.stdout).unwrap().trim_end().to_owned();
        let admin = at(listen.admin).with_token(operator);
        let public = at(listen.public);
        let receiver = Receiver::start().await;
        let house = Self { folder, cluster, child, public, admin, simulator, receiver };
        let ready = async || {
            let answer = house.admin.request(Method::GET, "/health/ready").send().await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(())
        };
        within(PATIENCE, ready, async || house.log()).await;
        house
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(super) fn control(&self) -> Control {
        self.simulator.control()
    }

    /// Ends everything in good order, so that all that was to be written is, and gives the folder with all of it.
    pub(super) async fn close(mut self) -> TempDir {
        kill(Pid::from_raw(self.child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}: {}", self.log());
        self.simulator.stop().await;
        self.cluster.stop().unwrap();
        self.folder
    }
}

fn at(address: SocketAddr) -> Client {
    Client::new(format!("http://{address}"))
}

/// Its app has a secret that is not published, and lets people return to Waypost.
async fn simulator(public_url: &str) -> Simulator {
    let back = format!("{public_url}/oauth/callback").parse().unwrap();
    let config = SimulatorConfig {
        notification_http_allowed: true,
        redirect_uris: vec![back],
        apps: vec![App { client_id: DEMO_CLIENT_ID, client_secret: CLIENT_SECRET.into() }],
        ..SimulatorConfig::default()
    };
    Simulator::start(config, waypost_core::clock::system()).await.unwrap()
}

/// Keeps PostgreSQL from compressing long values: what stood in one would not be found.
async fn keep_legible(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let statement = "DO $$ DECLARE one record; BEGIN
        FOR one IN SELECT a.attrelid::regclass AS name, a.attname FROM pg_attribute a
                   JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                     AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage IN ('x', 'm')
        LOOP EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE EXTERNAL', one.name, one.attname);
        END LOOP; END $$";
    connection.execute(statement).await.unwrap();
    connection.close().await.unwrap();
}
