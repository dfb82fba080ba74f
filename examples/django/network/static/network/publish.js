// A post is made first; then its picture goes straight to the bucket, with the form that the answer holds.
const form = document.getElementById("publish");
const state = form.querySelector(".state");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [file] = form.file.files;
  const data = new FormData(form);
  data.delete("file");
  if (file) data.append("picture", file.name);
  data.append("hashtags", [...form.text.value.matchAll(/#([\p{L}\p{N}_]+)/gu)].map((match) => match[1]).join(" "));
  const answer = await fetch(form.action, { method: "POST", body: data });
  const made = await answer.json();
  if (!answer.ok) {
    state.textContent = Object.values(made.errors).flat().join(" ");
    return;
  }
  if (made.upload) {
    state.textContent = "The picture is being sent.";
    const upload = new FormData();
    Object.entries(made.upload.fields).forEach(([name, value]) => upload.append(name, value));
    upload.append("file", file);
    const sent = await fetch(made.upload.url, { method: "POST", body: upload });
    if (!sent.ok) {
      state.textContent = "The picture was not taken: it may be too large.";
      return;
    }
  }
  location.reload();
});
