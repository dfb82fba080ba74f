"""The example's addresses."""

urlpatterns: list[object] = []
