//! Classes of IP addresses: which ones no name may lead to.
//! It never resolves or connects.
