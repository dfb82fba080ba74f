// One run of sharp: node sharp.mjs independent|cascade PHOTO jpeg|webp FOLDER. See media.py.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";

const sharp = createRequire(process.env.BENCH_MODULES + "/")("sharp");
const [way, photo, form, folder] = process.argv.slice(2);
const quality = form === "jpeg" ? 85 : 80;
const encode = (image) => image.toFormat(form, { quality }).toBuffer();
const upload = readFileSync(photo);
sharp.cache(false);

const started = process.hrtime.bigint();
const worked = process.cpuUsage();
let files;
if (way === "independent") {
  // As AWS's image solution does it: each rendition from the upload, on its own.
  const whole = [1600, 800, 320].map((side) =>
    encode(sharp(upload).rotate().resize(side, side, { fit: "inside", withoutEnlargement: true })));
  files = await Promise.all([...whole, encode(sharp(upload).rotate().resize(150, 150))]);
} else {
  const { data, info } = await sharp(upload).rotate()
    .resize(1600, 1600, { fit: "inside", withoutEnlargement: true }).raw().toBuffer({ resolveWithObject: true });
  const large = () => sharp(data, { raw: info });
  files = await Promise.all([
    encode(large()),
    ...[800, 320].map((side) => encode(large().resize(side, side, { fit: "inside" }))),
    encode(large().resize(150, 150)),
  ]);
}
const ms = Number(process.hrtime.bigint() - started) / 1e6;
const { user, system } = process.cpuUsage(worked);
["1600", "800", "320", "square"].forEach((name, at) => writeFileSync(`${folder}/${name}.${form}`, files[at]));
console.log(JSON.stringify({ ms, cpu: (user + system) / 1000, mb: Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024 }));
