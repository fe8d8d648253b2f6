# What takes longer than a test may. Everything else is ./run (see its head).

SECONDS ?= 600

.PHONY: soak
soak: ## minutes of faults under load against real sshd and PostgreSQL: make soak SECONDS=90
	./run test tests/soak/test_faults_under_load.py --seconds $(SECONDS)
