"""What an application calls beside tasks and models: upload forms, markup of uploads, and leaving and erasing users."""
