//! Shared support of the black-box tests: it drives the built binary as a user would.
//! It never calls the library, so a test sees only what leaves the door.

pub mod binaries;
pub mod people;
pub mod process;
pub mod report;
pub mod said;
pub mod scene;
pub mod shown;
pub mod stage;
pub mod story;
pub mod wall;
