"""What `init` installs: schema versions, generated functions, roles and pins."""
