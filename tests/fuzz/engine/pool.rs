//! Inputs worth building on: those whose outcome was not seen before.

use keelstone_harness::Random;
use std::collections::HashSet;

/// More are not kept; a new one then takes the place of an old one.
const MAX_INPUTS: usize = 4_096;
/// Larger ones would slow everything down.
const MAX_INPUT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub struct Pool {
    inputs: Vec<Vec<u8>>,
    /// Lines of outcomes.
    outcomes: HashSet<String>,
}

impl Pool {
    /// Keeps the input if any line of its outcome is new.
    pub fn offer(&mut self, input: &[u8], outcome: &str) {
        let before = self.outcomes.len();
        self.outcomes.extend(outcome.lines().map(without_digits));
        if input.len() > MAX_INPUT_BYTES || self.outcomes.len() == before {
            return;
        }
        if self.inputs.len() >= MAX_INPUTS {
            let at = self.outcomes.len() % MAX_INPUTS;
            self.inputs.swap_remove(at);
        }
        self.inputs.push(input.to_vec());
    }

    pub fn pick(&self, random: &mut Random) -> Option<&[u8]> {
        (!self.inputs.is_empty()).then(|| random.pick(&self.inputs).as_slice())
    }

    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }
}

/// Two texts that differ in numbers only are one outcome.
fn without_digits(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '0'..='9' if kept.ends_with('#') => {}
            '0'..='9' => kept.push('#'),
            other => kept.push(other),
        }
    }
    kept
}
