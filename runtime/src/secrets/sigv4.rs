//! AWS Signature Version 4, as a signer.
//! It never signs for another service, region or host than its secret is bound to.
