"""Services for systemd, cron and launchd."""
