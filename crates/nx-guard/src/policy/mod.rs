//! Cedar policies: loading, slicing by action and principal, deciding, testing.
