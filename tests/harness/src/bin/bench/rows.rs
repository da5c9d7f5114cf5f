//! The names of all rows, as they are printed and as the rules know them.

pub const PUT_1: &str = "put, 1 client";
pub const PUT_100: &str = "put, 100 clients";
pub const PUT_1000: &str = "put, 1000 clients";
pub const PUT_OPEN: &str = "put, 5000 a second";
pub const HOT_KEY: &str = "put to one hot key, 100 clients";
pub const COMPARE_AND_PUT: &str = "compare-and-put as Kubernetes does, 100 clients";
pub const GET_1: &str = "get, linearizable, 1 client";
pub const GET_100: &str = "get, linearizable, 100 clients";
pub const GET_1000: &str = "get, linearizable, 1000 clients";
pub const GET_OPEN: &str = "get, linearizable, 10 000 a second";
pub const GET_SERIALIZABLE: &str = "get, serializable, 100 clients";
pub const PAGE: &str = "page of 500 out of 50 k keys, 10 clients";
pub const OLD_PAGE: &str = "page of 500 at an older revision, 10 clients, 500 puts/s beside";
pub const FAN_OUT: &str = "event, 100 watchers and 10 writers";
pub const LEASE_GRANT: &str = "lease grant, 100 clients";
pub const KEEP_ALIVE: &str = "lease keepalive, 100 streams";

pub const THREE_PUT_1: &str = "3 members: put, 1 client";
pub const THREE_PUT_100: &str = "3 members: put, 100 clients";
pub const THREE_PUT_1000: &str = "3 members: put, 1000 clients";
pub const THREE_COMPARE_AND_PUT: &str = "3 members: compare-and-put, 100 clients";
pub const THREE_GET_100: &str = "3 members: get, linearizable, 100 clients";
pub const THREE_GET_SERIALIZABLE: &str = "3 members: get, serializable, 100 clients";

pub const CATCH_UP_SECS: &str = "10 000 watchers 100 000 revisions behind: time to catch up, s";
pub const CATCH_UP_SCAN_OF_ONE: &str = "watchers behind: CPU of the scan for one, ms";
pub const CATCH_UP_SCAN_OF_ALL: &str = "watchers behind: CPU of the scans for 10 000, ms";
pub const CATCH_UP_TIMES: &str = "watchers behind: 10 000 by one";
pub const CATCH_UP_DELIVERY: &str = "watchers behind: CPU of a creation and a delivery, us";

pub const ONE_KEY_FIRST: &str = "a million puts to one key: CPU of the first 10 000, us a put";
pub const ONE_KEY_LAST: &str = "a million puts to one key: CPU of the last 10 000, us a put";
pub const ONE_KEY_TIMES: &str = "a million puts to one key: last by first";

pub const RSS_EMPTY: &str = "empty server: RSS, MiB";
pub const LOADING: &str = "a million keys: loading, s";
pub const RSS_LOADED: &str = "a million keys: RSS, MiB";
pub const RSS_PEAK: &str = "a million keys: highest RSS so far, MiB";
pub const FOLDER: &str = "a million keys: data directory, MiB";
pub const FEW_WRITTEN: &str = "a million keys, 10 puts/s for 60 s: written, MiB";
pub const FEW_SYNCS: &str = "a million keys, 10 puts/s for 60 s: syncs";
pub const FEW_CPU: &str = "a million keys, 10 puts/s for 60 s: CPU, ms";
pub const RESTART: &str = "a million keys, kill -9: to the first linearizable read, s";
pub const RESTART_CPU: &str = "a million keys, kill -9: CPU to the first read, s";
pub const RSS_RESTARTED: &str = "a million keys, kill -9: RSS afterwards, MiB";
pub const RSS_RESTARTED_PEAK: &str = "a million keys, kill -9: highest RSS, MiB";
pub const SNAPSHOT: &str = "two million revisions, snapshot to a client: s";
pub const SNAPSHOT_BYTES: &str = "two million revisions, snapshot to a client: MiB";
pub const SNAPSHOT_RSS: &str = "two million revisions, snapshot to a client: growth of RSS, MiB";
pub const QUIET_WAIT: &str = "longest wait of a put: quiet, ms";
pub const COMPACTION: &str = "compaction of a million revisions, s";
pub const COMPACTION_CPU: &str = "compaction of a million revisions: CPU, s";
pub const COMPACTION_WAIT: &str = "longest wait of a put: during compaction, ms";
pub const COMPACTION_TIMES: &str = "longest wait of a put: compaction by quiet";
pub const DEFRAGMENT: &str = "defragment, s";
pub const DEFRAGMENTED: &str = "defragment: state afterwards, MiB";
pub const DEFRAGMENT_FREED: &str = "defragment: share of the state that is freed";
pub const DEFRAGMENT_WAIT: &str = "longest wait of a put: during defragment, ms";
pub const DEFRAGMENT_TIMES: &str = "longest wait of a put: defragment by quiet";

pub const MEMBER: &str = "snapshot to a member without the last million keys: to its first read, s";
pub const MEMBER_SENDER_RSS: &str = "snapshot to a member: growth of the leader's RSS, MiB";
pub const MEMBER_RECEIVER_RSS: &str = "snapshot to a member: its highest RSS above that at rest, MiB";
