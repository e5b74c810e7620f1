//! Everything that tests the program from outside; the modules are the table of contents.

mod model;
