//! Placeholders: what the sandbox holds instead of a secret.
//! It never holds anything of the secret itself.
