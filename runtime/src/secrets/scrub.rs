//! Takes secrets out of what comes back, exactly, whatever the chunks.
//! It never delays a byte that cannot be part of a secret.
