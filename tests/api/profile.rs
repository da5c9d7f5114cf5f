//! `/debug/pprof/`: what etcd has under `--enable-pprof`, as far as it is not of Go.

use crate::{check, check_alone, suite};
use flate2::read::GzDecoder;
use keelstone_harness::http;
use std::io::Read;

fn holds(profile: &[u8], text: &str) -> bool {
    profile.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_profile_of_processor_time_can_be_had() {
    check_alone(&["--enable-pprof"], async |case| {
        let index = http::get(case.port, "/debug/pprof/").await.expect("a page");
        assert!(index.status == 200 && index.body.contains("profile"), "{index:?}");
        assert_eq!(http::get(case.port, "/debug/pprof").await.expect("a page").status, 307);
        let words = http::get(case.port, "/debug/pprof/cmdline").await.expect("a page");
        assert!(words.body.split('\0').any(|word| word == "--enable-pprof"), "{words:?}");
        let (mut first, load) =
            (tokio::spawn(http::get_bytes(case.port, "/debug/pprof/profile?seconds=2")), &case.client);
        let mut refused_meanwhile = None;
        let (status, packed) = loop {
            tokio::select! {
                profile = &mut first => break profile.expect("asked").expect("a profile"),
                put = load.put("key", "value") => put.map(|_| ()).expect("puts go on"),
            }
            if refused_meanwhile.is_none() && !first.is_finished() {
                refused_meanwhile = Some(http::get(case.port, "/debug/pprof/profile?seconds=1").await.expect("a page"));
            }
        };
        assert_eq!(status, 200);
        let mut profile = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut profile).expect("packed by gzip");
        for text in ["samples", "count", "cpu", "nanoseconds"] {
            assert!(holds(&profile, text), "no {text}");
        }
        let refused = refused_meanwhile.expect("it took two seconds");
        assert_eq!(refused.body.trim(), "Could not enable CPU profiling: cpu profiling already in use");
        assert_eq!(refused.status, 500);
        if !suite().server.is_etcd {
            assert!(holds(&profile, "keelstone::"), "no function of ours");
            let heap = http::get(case.port, "/debug/pprof/heap").await.expect("a page");
            assert_eq!((heap.status, heap.body.contains("there is no \"heap\"")), (501, true), "{heap:?}");
        }
        let unknown = http::get(case.port, "/debug/pprof/nothing").await.expect("a page");
        assert_eq!((unknown.status, unknown.body.as_str()), (404, "Unknown profile\n"));
    })
    .await;
}

#[tokio::test]
async fn nobody_profiles_who_was_not_told_to() {
    check(async |case| {
        for path in ["/debug/pprof/", "/debug/pprof/profile?seconds=1", "/debug/pprof/cmdline"] {
            assert_eq!(http::get(case.port, path).await.expect("a reply").status, 404, "{path}");
        }
    })
    .await;
}
