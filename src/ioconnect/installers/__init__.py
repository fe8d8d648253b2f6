"""A service for every machine: systemd, cron and launchd.

`service`, `systemd`, `crontab`, `launchd` and `placement` are pure: what to run → the files and commands, as data.
`machine` looks at this machine, `apply` writes, runs and undoes (the only room that starts programs), `install` is
the order of things behind `install-service` and `uninstall-service`.
"""
