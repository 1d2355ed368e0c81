//! Complaints that are made once for as long as they last.

use std::collections::HashSet;

/// What has been complained of, in this round of looking and the one before.
#[derive(Debug, Default)]
pub(super) struct Told {
    before: HashSet<String>,
    now: HashSet<String>,
}

impl Told {
    /// Is this new? It lasts for as long as it is asked in every round.
    pub(super) fn is_new(&mut self, complaint: &str) -> bool {
        let is_first = self.now.insert(complaint.to_owned());
        is_first && !self.before.contains(complaint)
    }

    /// Ends a round. Gives how many complaints there were in it.
    pub(super) fn end_round(&mut self) -> usize {
        self.before = std::mem::take(&mut self.now);
        self.before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn a_complaint_is_new_once_while_it_lasts() {
        let mut told = Told::default();
        assert!(told.is_new("a") && !told.is_new("a") && told.is_new("b"));
        assert_eq!(told.end_round(), 2);
        assert!(!told.is_new("a"));
        assert_eq!(told.end_round(), 1);
        assert!(!told.is_new("a") && told.is_new("b"));
    }
}
