//! Each planted fault has its verdict, and a clean run has none.
