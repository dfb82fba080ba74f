"""What stands beside a post's row: the hashtags of its text, its files, and the archive of deleted posts."""
