//! A conversation goes on where it was: that node has read its beginning already.
//!
//! Only while there is a place for it. Reading a prompt anew takes seconds, a generation that is in front may take minutes:
//! so nobody waits for their node while another one is free, and affinity is no way around a fair line. It yields to overload
//! by itself (sglang #14532).

use super::{Rule, prefer, yes};

pub(super) const RULE: Rule = Rule {
    name: "session",
    compare: |a, b| prefer(a.session, b.session),
    value: |it| yes(it.session),
    reason: |_| "this conversation was there before",
};
