//! Refusals in the words of each protocol.
//! It never says how to weaken a rule.
