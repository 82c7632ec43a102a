//! Every form in which a secret could come back.
//! It never keeps a form longer than its secret.
