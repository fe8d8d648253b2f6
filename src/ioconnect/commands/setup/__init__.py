"""`ioconnect setup`: from nothing to a tunnel that stays up, a step at a time.

`setup` has the options, `steps` the order of the steps, `answers` what the options answer beforehand; `endpoint` and
`service` are the steps that ask most, `draft` is what an interrupted run keeps; `local_databases` and
`listening_sockets` look for what the tunnel may lead to.
"""
