//! What is found out, and what it means.

use proptest::prelude::*;

use super::*;
use crate::provision::Report;

fn wanted() -> Wanted {
    Wanted {
        number: 0,
        hostname: "pi0".to_owned(),
        name: "pi0.lan".to_owned(),
        user: "pi".to_owned(),
        host_key: "ssh-ed25519 AAAA".to_owned(),
        fingerprint: "SHA256:abc".to_owned(),
        fixed: None,
        given: None,
        identity_file: None,
        instances: Vec::new(),
        exporter: true,
    }
}

fn inside(report: Option<&str>) -> Found {
    let report = report.map(|text| Report::parse(&format!("cardmint report 1\n{text}")).unwrap());
    Found {
        route: None,
        reach: Reach::In,
        told: Some(Told {
            hostname: "pi0".to_owned(),
            report,
            ..Told::default()
        }),
        exporter: Some(Ok(())),
        strangers: Vec::new(),
        scraped: Some(true),
    }
}

#[test]
fn a_node_is_ready_when_nothing_is_missing() {
    let state = |found: &Found, watched| State::of(&wanted(), found, watched);
    let well = inside(Some("result ok\n"));
    assert_eq!(state(&well, true), State::Ready);
    let unseen = Found {
        scraped: Some(false),
        ..well.clone()
    };
    assert_eq!(state(&unseen, true).word(), "unwell");
    assert_eq!(state(&unseen, false), State::Ready);
    let silent = Found {
        exporter: Some(Err("nothing listens there".to_owned())),
        ..well.clone()
    };
    assert!(
        state(&silent, false)
            .detail()
            .contains("nothing listens there")
    );
    let not_wanted = Wanted {
        exporter: false,
        ..wanted()
    };
    assert_eq!(State::of(&not_wanted, &silent, false), State::Ready);
    let mut renamed = well;
    renamed.told.as_mut().unwrap().hostname = "box".to_owned();
    assert_eq!(state(&renamed, true).detail(), "it calls itself box");
}

/// A used card has the report of its former settings until it has its own.
#[test]
fn a_report_of_other_settings_does_not_count() {
    let wanted = Wanted {
        instances: vec!["cardmint-flashed".to_owned(), "cardmint-built".to_owned()],
        ..wanted()
    };
    let state = |report: &str| State::of(&wanted, &inside(Some(report)), true);
    for result in ["ok", "failed"] {
        let old = state(&format!("instance cardmint-old\nresult {result}\n"));
        assert!(old.detail().contains("other settings"), "{old:?}");
        assert!(!old.is_final());
    }
    // The last card of the record, or an image that was made since.
    for right in ["cardmint-flashed", "cardmint-built"] {
        let report = format!("instance {right}\nresult ok\n");
        assert_eq!(state(&report), State::Ready);
    }
}

#[test]
fn only_what_waiting_can_change_is_waited_for() {
    let state = |found: &Found| State::of(&wanted(), found, true);
    let failed = inside(Some(
        "step packages failed 301 no network\nstep x failed 0\nresult failed\n",
    ));
    assert_eq!(
        state(&failed),
        State::Failed(vec!["packages: no network".to_owned(), "x".to_owned()])
    );
    assert!(state(&failed).is_final());
    for report in [None, Some("step hostname ok 0\n")] {
        assert_eq!(state(&inside(report)).word(), "starting");
        assert!(!state(&inside(report)).is_final());
    }
    for (reach, word, is_final) in [
        (Reach::NoAddress("x".to_owned()), "not there", false),
        (Reach::Silent, "not there", false),
        (Reach::NotYet("x".to_owned()), "starting", false),
        (Reach::LockedOut("x".to_owned()), "locked out", false),
        (Reach::Impostor(None), "WRONG IDENTITY", true),
    ] {
        let found = Found {
            reach,
            ..inside(None)
        };
        assert_eq!(
            (state(&found).word(), state(&found).is_final()),
            (word, is_final)
        );
    }
}

#[test]
fn a_node_tells_of_itself() {
    let text = "hostname pi0\nuptime 61\nroot 4096 1000 250\ntemperature 48312\n\
                model Raspberry Pi 4\nreport cardmint report 1\nreport node pi0\nreport result ok\nend -\n";
    let told = Told::parse(text).unwrap();
    assert_eq!(told.uptime, Some(61));
    assert_eq!(
        (told.root_len, told.root_free),
        (Some(4_096_000), Some(1_024_000))
    );
    assert_eq!(told.millidegrees, Some(48_312));
    assert_eq!(told.report.unwrap().ok, Some(true));
    // Without its end it may have been cut anywhere.
    assert_eq!(Told::parse(text.strip_suffix("end -\n").unwrap()), None);
    let hostile =
        Told::parse("hostname \x1b[2Jpi\nroot 18446744073709551615 2 x\nend -\n").unwrap();
    assert_eq!(hostile.hostname, "\u{fffd}[2Jpi");
    assert_eq!((hostile.root_len, hostile.root_free), (None, None));
}

proptest! {
    #[test]
    fn whatever_is_printed_is_read_without_panic(text in "(\\PC|\n|report |root |end ){0,300}") {
        let _ = Told::parse(&text);
    }
}
