"""Intel SGX: enclave reports inside quotes of version 3, and what a policy requires of them."""
