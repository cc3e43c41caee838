//! Requests that a node forbids (403): each may have itself to blame, many in a row say that the key may not use the model.

use lamplighter_core::model::key;

/// So many in a row, and the model is asked for elsewhere.
const IN_A_ROW: u32 = 3;

/// How often each model was forbidden since a request for it last went well.
#[derive(Debug, Default)]
pub(super) struct Forbidden(Vec<(String, u32)>);

impl Forbidden {
    /// Once more; how often that is now.
    pub(super) fn again(&mut self, model: &str) -> u32 {
        let model = key(model);
        let at = self.0.iter().position(|(known, _)| known == model).unwrap_or_else(|| {
            self.0.push((model.to_owned(), 0));
            self.0.len() - 1
        });
        self.0[at].1 += 1;
        self.0[at].1
    }

    /// Is it about the model, and not about the request?
    pub(super) fn is_habit(&self, model: &str) -> bool {
        self.0.iter().any(|(known, times)| known == key(model) && *times >= IN_A_ROW)
    }

    /// It went well, or may be tried again.
    pub(super) fn forgive(&mut self, model: &str) {
        self.0.retain(|(known, _)| known != key(model));
    }

    /// Would it be worth something to hear that a request went well?
    pub(super) fn counts(&self) -> bool {
        self.0.iter().any(|(_, times)| *times < IN_A_ROW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_row_are_about_the_model() {
        let mut forbidden = Forbidden::default();
        assert_eq!((forbidden.again("m"), forbidden.again("m:latest"), forbidden.again("n")), (1, 2, 1));
        assert!(!forbidden.is_habit("m") && forbidden.counts());
        forbidden.forgive("m");
        assert_eq!((forbidden.again("m"), forbidden.again("m"), forbidden.again("m")), (1, 2, 3));
        assert!(forbidden.is_habit("m") && !forbidden.is_habit("n") && forbidden.counts());
        forbidden.forgive("n");
        assert!(!forbidden.counts(), "what is passed over is not counted any more");
    }
}
