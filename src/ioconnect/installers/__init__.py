"""Installs the agent as a service of systemd, cron or launchd.

`service`, `systemd`, `crontab`, `launchd` and `reachability` are pure: a service → its files and commands, as data.
`machine` inspects this machine, `programs` starts other programs, `apply` writes files, runs commands and rolls back,
`install` has the steps of `install-service` and `uninstall-service`.
"""
