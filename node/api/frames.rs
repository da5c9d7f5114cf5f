//! Counts gRPC messages as they pass, without looking into them.
//!
//! ```text
//! message := compressed u8 | length u32 BE | payload
//! ```

const HEADER_LEN: u8 = 5;

/// Follows the framing of one direction of one call over any cut into chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounter {
    /// Header bytes seen of the message that has begun.
    header_seen: u8,
    length: u32,
    /// Payload bytes still to come.
    payload_left: u32,
}

/// What one chunk added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages that ended in the chunk.
    pub messages: u64,
    pub payload_bytes: u64,
    /// The longest message whose header ended in the chunk, by what the header says.
    pub longest_announced: u32,
}

impl FrameCounter {
    pub fn pass(&mut self, mut chunk: &[u8]) -> Passed {
        let mut passed = Passed::default();
        while !chunk.is_empty() {
            if self.header_seen < HEADER_LEN {
                let (byte, rest) = (chunk[0], &chunk[1..]);
                if self.header_seen > 0 {
                    self.length = (self.length << 8) | u32::from(byte);
                }
                self.header_seen += 1;
                chunk = rest;
                if self.header_seen < HEADER_LEN {
                    continue;
                }
                self.payload_left = self.length;
                passed.longest_announced = passed.longest_announced.max(self.length);
            }
            let taken = chunk.len().min(self.payload_left as usize);
            chunk = &chunk[taken..];
            passed.payload_bytes += taken as u64;
            // `taken` is at most `payload_left`, a u32.
            self.payload_left -= taken as u32;
            if self.payload_left == 0 {
                passed.messages += 1;
                *self = Self::default();
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.push(0);
            bytes.extend((payload.len() as u32).to_be_bytes());
            bytes.extend(payload);
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_cut_counts_the_same(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            chunk_len in 1_usize..20,
        ) {
            let mut counter = FrameCounter::default();
            let mut total = Passed::default();
            let mut longest = 0;
            for chunk in encode(&payloads).chunks(chunk_len) {
                let passed = counter.pass(chunk);
                longest = longest.max(passed.longest_announced as usize);
                total.messages += passed.messages;
                total.payload_bytes += passed.payload_bytes;
            }
            prop_assert_eq!(total.messages, payloads.len() as u64);
            prop_assert_eq!(total.payload_bytes, payloads.iter().map(|payload| payload.len() as u64).sum::<u64>());
            prop_assert_eq!(longest, payloads.iter().map(Vec::len).max().unwrap_or(0));
            prop_assert_eq!(counter, FrameCounter::default());
        }
    }
}
