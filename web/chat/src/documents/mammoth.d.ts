/** What is used of mammoth; its own types need Node's. */
declare module "mammoth/mammoth.browser.min.js" {
  interface Mammoth {
    convertToHtml(
      input: { arrayBuffer: ArrayBuffer },
      options: { convertImage: unknown },
    ): Promise<{ value: string; messages: { type: string; message: string }[] }>;
    images: { imgElement(attributes: () => Promise<{ src: string }>): unknown };
  }
  const mammoth: Mammoth;
  export default mammoth;
}
