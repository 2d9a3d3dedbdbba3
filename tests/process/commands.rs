//! Commands beside a running process, and a process whose port is taken.

use std::net::TcpListener;
use std::{fs, path::Path};

use nix::sys::signal::Signal;
use waypost_harness::program::{Listen, Program, Site, free_address};

use crate::complaint;
use crate::database::Database;

#[tokio::test]
async fn a_healthcheck_ends_with_0_when_the_process_is_ready_and_with_1_when_it_is_gone() {
    let database = Database::create().await;
    let site = database.site();
    site.migrate().await;
    let mut program = site.started().await;

    assert_eq!(healthcheck(&site, &program).await, Some(0));

    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success(), "{}", program.log_tail());
    assert_eq!(healthcheck(&site, &program).await, Some(1));
}

#[tokio::test]
async fn openapi_prints_the_document_of_the_repository_byte_for_byte() {
    let output = Site::new("postgres://unused/unused").run(&["openapi"]).await;

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.yaml");
    let committed = fs::read_to_string(&document).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed == committed, "openapi.yaml differs from `waypost openapi`: run `make openapi`");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let database = Database::create().await;
    let site = database.site();
    site.migrate().await;
    let taken = TcpListener::bind(free_address()).unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(taken).unwrap();

    let free = Listen::free();
    let cases = [
        ("server.public_listen", Listen { public: taken, ..free }),
        ("server.admin_listen", Listen { admin: taken, ..free }),
    ];
    for (setting, listen) in cases {
        let output = site.serve(listen, &[]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = complaint(&output);
        assert!(line.contains(&taken.to_string()) && line.contains(setting), "{line}");
    }
    drop(holder);
}

async fn healthcheck(site: &Site, program: &Program) -> Option<i32> {
    let mut command = site.command(&["healthcheck"]);
    command.env("WAYPOST__SERVER__ADMIN_LISTEN", program.listen().admin.to_string());
    command.output().await.unwrap().status.code()
}
