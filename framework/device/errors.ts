/** Every error of the engine that a user can act on. The text says what was given, what was expected and what to do. */
export class MicroMindError extends Error {
  override name = this.constructor.name;
}

/** No adapter that computes, or a provider that cannot be loaded. */
export class DeviceError extends MicroMindError {}

/** The device went away (driver reset, unplugged, destroyed). Work since the last read is lost. */
export class DeviceLostError extends MicroMindError {}

/** The adapter has no memory left, or a buffer is larger than it allows. */
export class OutOfMemoryError extends MicroMindError {}

/** A kernel's WGSL does not compile, or its launch is refused. */
export class ShaderError extends MicroMindError {}

/** Shapes that do not fit an op. */
export class ShapeError extends MicroMindError {}

/** A dtype that an op does not take. */
export class DTypeError extends MicroMindError {}

/** A tensor used after it was freed. */
export class DisposedError extends MicroMindError {}
