"""The alarms feeds: cron lines, intervals, dates."""
