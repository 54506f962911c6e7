"""Tests in a virtual machine: what the machine of the other tests is not. `make test-vm`, docs/dev/vm.md."""
