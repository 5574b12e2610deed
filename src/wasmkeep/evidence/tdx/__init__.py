"""Intel TDX: TD reports inside quotes of version 4 and 5, and what a policy requires of them."""
