"""What an application calls: forms to upload with, and markup that shows what became of an upload."""
