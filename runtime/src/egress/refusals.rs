//! What the kernel refused inside, because nobody listens there: into the log.
//! It never answers.
