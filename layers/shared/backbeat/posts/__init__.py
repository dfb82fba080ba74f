"""What stands beside a post's row: its files, and the archive of deleted posts."""
