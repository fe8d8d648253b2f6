"""`setup`: from nothing to a tunnel that stays up, a step at a time.

`walk` is the order of the steps, `answers` what the command line says beforehand, `endpoint`, `host_key` and
`service` are the steps that ask, `draft` is what an interrupted one keeps, `databases` and `listening` look for what
the tunnel may lead to.
"""
