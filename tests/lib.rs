//! Nothing is here: the tests of the workspace are in `suite/`.
