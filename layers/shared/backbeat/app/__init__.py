"""What an application calls: forms to upload with, markup that shows what became of an upload, and erasing a user."""
