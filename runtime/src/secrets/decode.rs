//! Content encodings, decoded as they stream, within limits.
//! It never passes on what it cannot decode.
