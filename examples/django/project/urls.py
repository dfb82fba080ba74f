"""The example's addresses."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from network import views

urlpatterns = [
    path("", views.feed, name="feed"),
    path("join/", views.sign_up, name="sign-up"),
    path("sign-in/", LoginView.as_view(template_name="network/sign_in.html"), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("posts/", views.publish, name="publish"),
    path("posts/<int:pk>/", views.show, name="show"),
    path("posts/<int:pk>/like/", views.like, name="like"),
    path("posts/<int:pk>/share/", views.share, name="share"),
    path("posts/<int:pk>/comment/", views.comment, name="comment"),
    path("posts/<int:pk>/delete/", views.delete, name="delete"),
    path("members/<str:username>/", views.profile, name="profile"),
    path("members/<str:username>/follow/", views.follow, name="follow"),
    path("notifications/", views.notifications, name="notifications"),
]
