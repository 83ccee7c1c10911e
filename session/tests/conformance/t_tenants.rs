//! Tenants (T).
