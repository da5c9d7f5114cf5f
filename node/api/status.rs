//! The only table of gRPC codes and error texts. The text is the contract: etcd's client maps errors by it
//! (etcd `api/v3rpc/rpctypes/error.go`, `server/etcdserver/api/v3rpc/util.go`).

use super::backup::BackupRefused;
use crate::admission::AdmissionError;
use crate::apply::{self, ApplyError};
use crate::auth::AuthError;
use crate::cluster::MemberChangeError;
use crate::cluster::negotiate::DowngradeRefused;
use crate::lease::LeaseError;
use crate::raft::{ChangeError, ChangeRefused, DefragmentError, RequestError, TransferError};
use tonic::{Code, Status};

const OUT_OF_MEMORY: &str = "keelstone: requests and answers on their way take all the memory that \
     --max-inflight-bytes leaves them; ask for less at once, or again later";

/// Declares [`ApiError`], its rows, and the list of them that the golden test walks.
macro_rules! table {
    ($($name:ident = $code:ident, $text:literal;)*) => {
        /// All that an RPC can answer instead of a response.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ApiError {
            $($name,)*
            /// A part of etcd's interface that Keelstone does not have yet.
            NotBuilt(&'static str),
            /// A message beyond the receive limit, as grpc-go says it.
            MessageTooLarge { bytes: usize, max_bytes: usize },
            /// Requests and answers on their way take all the memory that they may.
            OutOfMemory,
            /// Of `keelstonepb.Backup`.
            Backup { code: Code, text: String },
            /// What etcd has no code for leaves it as Unknown with the raw text.
            Raw(String),
        }

        impl ApiError {
            fn row(&self) -> (Code, std::borrow::Cow<'_, str>) {
                match self {
                    $(ApiError::$name => (Code::$code, $text.into()),)*
                    ApiError::NotBuilt(what) => {
                        (Code::Unimplemented, format!("keelstone: {what} is not built yet").into())
                    }
                    ApiError::MessageTooLarge { bytes, max_bytes } => (
                        Code::ResourceExhausted,
                        format!("grpc: received message larger than max ({bytes} vs. {max_bytes})").into(),
                    ),
                    ApiError::OutOfMemory => (Code::ResourceExhausted, OUT_OF_MEMORY.into()),
                    ApiError::Backup { code, text } => (*code, text.as_str().into()),
                    ApiError::Raw(text) => (Code::Unknown, text.as_str().into()),
                }
            }

            #[cfg(test)]
            const TABLE: &[(&str, ApiError)] = &[$((stringify!($name), ApiError::$name),)*];
        }
    };
}

table! {
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientApiVersion = InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRevision = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";

    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    LeaseExists = FailedPrecondition, "etcdserver: lease already exists";
    LeaseTtlTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    // Not in etcd's map, so it leaves as Unknown.
    NotPrimaryLessor = Unknown, "not a primary lessor";

    WatchCanceled = Cancelled, "etcdserver: watch canceled";

    MemberExists = FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlExists = FailedPrecondition, "etcdserver: Peer URLs already exists";
    // etcd maps it to its client-side error, which gRPC sends as Unknown.
    MemberNotEnoughStarted = Unknown, "etcdserver: re-configuration failed due to not enough started members";
    MemberBadUrls = InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound = NotFound, "etcdserver: member not found";
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady = FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    ClusterIdMismatch = FailedPrecondition, "etcdserver: cluster ID mismatch";

    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    // As MemberNotEnoughStarted.
    TooManyRequests = Unknown, "etcdserver: too many requests";

    RootUserNotExist = FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotExist = FailedPrecondition, "etcdserver: root user does not have root role";
    UserAlreadyExist = FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    RoleAlreadyExist = FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    AuthFailed = InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted = FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthMgmt = InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";

    NoLeader = Unavailable, "etcdserver: no leader";
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    NotCapable = FailedPrecondition, "etcdserver: not capable";
    Stopped = Unavailable, "etcdserver: server stopped";
    Timeout = Unavailable, "etcdserver: request timed out";
    TimeoutDueToLeaderFail = Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutDueToConnectionLost = Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitAppliedIndex = Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner = FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee = FailedPrecondition, "etcdserver: bad leader transferee";

    WrongDowngradeVersionFormat = InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion = InvalidArgument, "etcdserver: invalid downgrade target version";
    ClusterVersionUnavailable = FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    DowngradeInProcess = FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";

    Canceled = Cancelled, "etcdserver: request canceled";
    DeadlineExceeded = DeadlineExceeded, "etcdserver: context deadline exceeded";

    // Written in etcd's handler, without the prefix (v3rpc/key.go).
    StreamSortOrder = Unimplemented, "RangeStream does not support custom sort orders";
    StreamRevisionFilter = Unimplemented, "RangeStream does not support revision filters";
    // grpc-go's own health service.
    UnknownHealthService = NotFound, "unknown service";
}

impl ApiError {
    pub fn code(&self) -> Code {
        self.row().0
    }

    /// The text as HTTP answers and logs show it.
    pub fn text(&self) -> String {
        self.row().1.into_owned()
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.row().1)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let (code, text) = error.row();
        Status::new(code, text)
    }
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::EmptyKey => ApiError::EmptyKey,
            AdmissionError::KeyNotFound => ApiError::KeyNotFound,
            AdmissionError::ValueProvided => ApiError::ValueProvided,
            AdmissionError::LeaseProvided => ApiError::LeaseProvided,
            AdmissionError::TooManyOps => ApiError::TooManyOps,
            AdmissionError::DuplicateKey => ApiError::DuplicateKey,
            AdmissionError::InvalidSortOption => ApiError::InvalidSortOption,
            AdmissionError::LeaseTtlTooLarge => ApiError::LeaseTtlTooLarge,
            AdmissionError::RequestTooLarge => ApiError::RequestTooLarge,
            AdmissionError::TooManyRequests => ApiError::TooManyRequests,
            AdmissionError::OutOfMemory => ApiError::OutOfMemory,
            AdmissionError::RangeStreamSortOrder => ApiError::StreamSortOrder,
            AdmissionError::RangeStreamRevisionFilters => ApiError::StreamRevisionFilter,
        }
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::EmptyKey => ApiError::EmptyKey,
            ApplyError::KeyNotFound => ApiError::KeyNotFound,
            ApplyError::Compacted => ApiError::Compacted,
            ApplyError::FutureRevision => ApiError::FutureRevision,
            ApplyError::Lease(LeaseError::NotFound) => ApiError::LeaseNotFound,
            ApplyError::Lease(LeaseError::Exists) => ApiError::LeaseExists,
            ApplyError::Lease(LeaseError::TtlTooLarge) => ApiError::LeaseTtlTooLarge,
            ApplyError::Member(error) => error.into(),
            ApplyError::NoSpace => ApiError::NoSpace,
            ApplyError::Corrupt => ApiError::Corrupt,
            ApplyError::ClusterVersion => ApiError::Raw(error.to_string()),
            ApplyError::Auth(error) => error.into(),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::RootUserNotExist => ApiError::RootUserNotExist,
            AuthError::RootRoleNotExist => ApiError::RootRoleNotExist,
            AuthError::UserAlreadyExist => ApiError::UserAlreadyExist,
            AuthError::UserEmpty => ApiError::UserEmpty,
            AuthError::UserNotFound => ApiError::UserNotFound,
            AuthError::RoleAlreadyExist => ApiError::RoleAlreadyExist,
            AuthError::RoleNotFound => ApiError::RoleNotFound,
            AuthError::RoleEmpty => ApiError::RoleEmpty,
            AuthError::PermissionNotGiven => ApiError::PermissionNotGiven,
            AuthError::AuthFailed => ApiError::AuthFailed,
            AuthError::PermissionDenied => ApiError::PermissionDenied,
            AuthError::RoleNotGranted => ApiError::RoleNotGranted,
            AuthError::PermissionNotGranted => ApiError::PermissionNotGranted,
            AuthError::AuthNotEnabled => ApiError::AuthNotEnabled,
            AuthError::OldRevision => ApiError::AuthOldRevision,
            AuthError::InvalidToken => ApiError::InvalidAuthToken,
            AuthError::InvalidManagement => ApiError::InvalidAuthMgmt,
            // etcd has no code for these.
            AuthError::NoPasswordUser | AuthError::VerifyOnly => ApiError::Raw(error.to_string()),
        }
    }
}

impl From<BackupRefused> for ApiError {
    fn from(refused: BackupRefused) -> Self {
        let code = match refused {
            BackupRefused::NoPlace | BackupRefused::Forget(_) => Code::FailedPrecondition,
            BackupRefused::Busy | BackupRefused::List(_) => Code::Unavailable,
            BackupRefused::Unknown(_) => Code::NotFound,
            BackupRefused::NotMade(_) => Code::Internal,
            BackupRefused::Retention(_) => Code::InvalidArgument,
        };
        ApiError::Backup { code, text: format!("keelstone: {refused}") }
    }
}

impl From<DefragmentError> for ApiError {
    /// etcd has no code for what the disk says either.
    fn from(error: DefragmentError) -> Self {
        match error {
            DefragmentError::Stopped => ApiError::Stopped,
            DefragmentError::NoRoom { .. }
            | DefragmentError::Disk(_)
            | DefragmentError::Copy(_)
            | DefragmentError::Overtaken
            | DefragmentError::Outdated
            | DefragmentError::QueueFull => ApiError::Raw(error.to_string()),
        }
    }
}

impl From<DowngradeRefused> for ApiError {
    fn from(refused: DowngradeRefused) -> Self {
        match refused {
            DowngradeRefused::InvalidTarget => ApiError::InvalidDowngradeTargetVersion,
            DowngradeRefused::InProcess => ApiError::DowngradeInProcess,
            DowngradeRefused::NotInProcess => ApiError::NoInflightDowngrade,
        }
    }
}

impl From<MemberChangeError> for ApiError {
    fn from(error: MemberChangeError) -> Self {
        match error {
            MemberChangeError::IdRemoved | MemberChangeError::IdNotFound => ApiError::MemberNotFound,
            MemberChangeError::IdExists => ApiError::MemberExists,
            MemberChangeError::PeerUrlExists => ApiError::PeerUrlExists,
            MemberChangeError::NotLearner => ApiError::MemberNotLearner,
            MemberChangeError::TooManyLearners => ApiError::TooManyLearners,
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoLeader => ApiError::NoLeader,
            RequestError::Timeout => ApiError::Timeout,
            RequestError::TimeoutLeaderFailed => ApiError::TimeoutDueToLeaderFail,
            RequestError::TimeoutConnectionLost => ApiError::TimeoutDueToConnectionLost,
            RequestError::TooManyRequests => ApiError::TooManyRequests,
            RequestError::RequestTooLarge => ApiError::RequestTooLarge,
            RequestError::Stopped => ApiError::Stopped,
            RequestError::Refused(error) => error.into(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Request(error) => error.into(),
            ChangeError::Refused(ChangeRefused::Table(error)) => error.into(),
            ChangeError::Refused(ChangeRefused::NotEnoughStarted) => ApiError::MemberNotEnoughStarted,
            ChangeError::Refused(ChangeRefused::Unhealthy) => ApiError::Unhealthy,
            ChangeError::Refused(ChangeRefused::LearnerNotReady) => ApiError::LearnerNotReady,
        }
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::NotLeader => ApiError::NotLeader,
            TransferError::BadTarget => ApiError::BadLeaderTransferee,
            // etcd has no code for it.
            TransferError::NoTarget | TransferError::Timeout => {
                ApiError::Raw("etcdserver: request timed out, leader transfer took too long".to_owned())
            }
        }
    }
}

impl From<apply::Stopped> for ApiError {
    fn from(_stopped: apply::Stopped) -> Self {
        ApiError::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// `errors.golden` is taken from etcd's own source: name, code, text. Its head says how it was made.
    #[test]
    fn codes_and_texts_are_those_of_etcd() {
        let golden: BTreeMap<&str, (&str, &str)> = include_str!("errors.golden")
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let mut columns = line.splitn(3, '\t');
                let mut column = || columns.next().expect("three columns");
                let name = column();
                (name, (column(), column()))
            })
            .collect();
        let ours: BTreeMap<String, (String, String)> = ApiError::TABLE
            .iter()
            .map(|(name, error)| ((*name).to_owned(), (format!("{:?}", error.code()), error.text())))
            .collect();
        let ours: BTreeMap<&str, (&str, &str)> =
            ours.iter().map(|(name, (code, text))| (name.as_str(), (code.as_str(), text.as_str()))).collect();
        assert_eq!(ours, golden);
    }

    #[test]
    fn what_is_not_built_says_so() {
        let status = Status::from(ApiError::NotBuilt("member add"));
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.message(), "keelstone: member add is not built yet");
    }
}
