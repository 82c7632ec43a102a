//! WebSocket frames, as far as scrubbing needs them.
//! It never passes on a frame that it could not read.
