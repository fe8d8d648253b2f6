# What takes longer than a test may. Everything else is ./run (see its head).

.PHONY: soak fuzz
soak: ## minutes of faults under load against real sshd and PostgreSQL: make soak SECONDS=90
	./run test tests/soak/test_faults_under_load.py --seconds $(or $(SECONDS),600)

fuzz: ## every parser and the wire against mutated input, each for a while: make fuzz SECONDS=60
	./run fuzz --seconds $(or $(SECONDS),60)
