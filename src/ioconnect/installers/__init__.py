"""Installs the agent as a service of systemd, cron or launchd.

`service`, `systemd`, `crontab`, `launchd` and `reachability` are pure: a service → its files and commands, as data.
`machine` inspects this machine, `apply` writes files, runs commands and rolls back (the only module that starts
programs), `install` has the steps of `install-service` and `uninstall-service`.
"""
