//! What every answer says of the member that gave it.

use crate::types::{ClusterId, MemberId};
use keelstone_proto::etcdserverpb::ResponseHeader;

/// Who answers, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answerer {
    pub cluster: ClusterId,
    pub member: MemberId,
    pub term: u64,
}

impl Answerer {
    /// Without a revision, as of the Cluster service.
    pub fn header(self) -> ResponseHeader {
        self.header_at(0)
    }

    pub fn header_at(self, revision: i64) -> ResponseHeader {
        ResponseHeader { cluster_id: self.cluster.0, member_id: self.member.0, revision, raft_term: self.term }
    }

    /// Completes a header that apply or a read began. Where they left no revision it is the present one.
    pub fn fill(self, header: &mut Option<ResponseHeader>, present_revision: impl FnOnce() -> i64) {
        let given = header.as_ref().map_or(0, |header| header.revision);
        let revision = if given == 0 { present_revision() } else { given };
        *header = Some(self.header_at(revision));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERER: Answerer = Answerer { cluster: ClusterId(1), member: MemberId(2), term: 3 };

    #[test]
    fn a_given_revision_stays_and_a_missing_one_is_the_present() {
        let mut header = Some(ResponseHeader { revision: 7, ..ResponseHeader::default() });
        ANSWERER.fill(&mut header, || unreachable!("there is one"));
        assert_eq!(header, Some(ResponseHeader { cluster_id: 1, member_id: 2, revision: 7, raft_term: 3 }));
        for mut missing in [None, Some(ResponseHeader::default())] {
            ANSWERER.fill(&mut missing, || 9);
            assert_eq!(missing, Some(ANSWERER.header_at(9)));
        }
        assert_eq!(ANSWERER.header().revision, 0);
    }
}
