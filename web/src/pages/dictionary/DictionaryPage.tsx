export default function DictionaryPage({ id }: { id: string }) {
  return <h1>{id}</h1>;
}
