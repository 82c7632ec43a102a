//! Synthetic addresses: one for each granted name, so that any protocol has a name to be judged by.
//! It never gives an address to a name that no rule grants.
