//! What the tools do, apart from how files are reached. It never touches a file itself.
